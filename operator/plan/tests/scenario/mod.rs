//! A small language for situations: one line for the resource, one for each member.
//!
//! ```text
//! cluster replicas=3 [learners=1] [image=..] [version=..] [policy=Delete] [engine=Etcd] [paused] [deleted] [reclaiming=4000!] [fresh | statusless] [claims-of-namesake=2]
//!         [tls=JSON | tls=unnamed [tls-default=Operator] [certificates [without=kv-peer-tls] [due=kv-peer-tls] [aging=kv-peer-tls] [stolen=kv-peer-tls]
//!         [keyless=kv-peer-tls] [both=kv-peer-tls | prepared=kv-peer-tls] [rotating=Peer/Trust[/20]]]]
//!         [listeners=http:2380+https:2382]
//!         [network=JSON [network-remembered] [network-was=JSON [network-untold]] [operator=unknown]]
//!         [windows=JSON] [run=Hibernated] [joining=4 [joining-learner]] [serial=4] [operation=Rollout/m2/900] [overlay=JSON] [size=..] [not-yet]
//!         [grow=80/20%/8Gi/3600] [grown=4Gi/5Gi/900] [when-scaled=Delete] [when-replaced=Retain] [ttl=60] [scaled-ttl=60] [class=fast] [change=Deny] [classes=fast/yes,slow/no]
//!         [update=JSON] [stable=IMAGE] [begun=30 [soaking=20] [soaked] [fell] [of-another]]
//! m1 leader
//! m2 index=10 pod=notready template=old age=10
//! m3 pod=ending overdue=40
//! m4 pod=notready unready=10 answers-as=5
//! m5 db=1600 volume=8Gi/4Gi volume-class=slow resizing=Resizing/20 asked=8Gi left=Replaced kept=3600
//! m5 claim=lost pod=none suspect=VolumeLost/20 begun=5
//! m7 answer=no node=dead tied
//! m6 pod=crashing restarts=7 oom suspect=CrashLoop/90/2
//! m4 pod=notready unready=10 answers-as=5 revision=5000 size=2000 used=1000
//! m5 no-space
//! m5 corrupt
//! m6 learner permanent
//! m6 trusts=kv-peer-tls+new shows=new/tls at=https:2382
//! m1 pod=restoring
//! m1 mounting=kv-server-cert
//! m2 restored=pod-9 alone
//! operation one spec={"restart":{"members":["m1"]}} status={"phase":"Running"}
//! ```
//!
//! `m1` is the member of serial 1, whose real name is a hash; a member that is not said to be otherwise has its identity,
//! its own claim, a ready pod of the template in force, a vote, and answers at index 100000. `fresh` means that nothing of
//! the cluster is there yet; otherwise services and budget are; `statusless` that the status is gone. A volume asks for the one size and has the other (`none` before
//! it is bound); `asked` is what the operator last asked for, if that is another size than the first one.
//! `stable` is the image of the template on which the cluster converged, `template=stable` a pod of it and `template=asked` one of
//! what the spec asks for; `begun` is a rollout that is watched, with the seconds since it got on. A cluster that has converged
//! remembers that it has. A CA of the operator's is called as its Secret, and one beside it or after it `new`: with `both` that one is
//! believed and signs, with `prepared` it is believed and does not; `rotating` says the surface, the step and for how many seconds all
//! members have been seen to have taken it. Without `tls` the spec names both surfaces as Disabled; `unnamed` names none. What a member trusts and shows, it does on the surface of its peers. `listeners` is where
//! members are remembered to listen for each other, and `at` where the membership has the others look for one.
//! `network-remembered` says that the status remembers a NetworkPolicy, `network-was` that there is one too, as these options ask
//! for it, and `network-untold` that it is not remembered; the operator knows its own pods unless it is `unknown`.
//! `required=2` is the majority that is remembered, `recovering=m1` a recovery from quorum loss by plan `p`
//! that operation `one` asks for, of the cluster `lost=dead` if not of the one that is remembered; `restored` says which pod has rebuilt a cluster of a volume, `alone` that the member answers for one
//! of another id; `snapshottable` volumes can be snapshotted, `snapshots=m1,m3` of whom that is latched, and `snapshot` how far it is (`absent`,
//! `forbidden`, `unserved`, `unread`, `waiting`, `failed`, or else taken); in an operation `PLAN` stands for the plan of now, which the operation shows then.

mod accounts;
mod cert_manager;

use std::collections::BTreeMap;

use crds::{
    BlockedBy, CertificateRotation, CertificatesStatus, Joining, MemberPhase, MemberStatus,
    NetworkPolicyMode, Operation, OperationType, PeerListener, PeerTls, RaftCluster,
    RaftClusterStatus, RaftMember, RaftOperation, Recovering, Recovery, RepairCause, RepairStatus,
    Replacement, RolloutFailure, RolloutStatus, RunState, StableTemplate, StorageStatus, Suspect,
    TlsDefault, TlsMode,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plan::certificates::{AUTHORITY_LASTS, LEAF_LASTS};
use plan::names::Surface;
use plan::{
    Action, Answer, Authority, Footing, Handshake, Issue, Keyring, Listed, Observed, OperatorPods,
    Probe, Seen, Sought, names,
};
use serde_json::{Value, json};

/// The uid of the cluster in every situation.
const UID: &str = "c1c1c1c1-0000-4000-8000-000000000001";
/// Of which storage class volumes are, where nothing else is said.
const STORAGE_CLASS: &str = "standard";
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
    let (declared, text): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|it| accounts::is_declaration(it));
    let (asked, text): (Vec<&str>, Vec<&str>) = text
        .into_iter()
        .partition(|it| it.starts_with("operation "));
    let mut lines: Vec<Words<'_>> = text
        .into_iter()
        .map(|it| Words(it.split_whitespace().collect()))
        .filter(|it| !it.0.is_empty())
        .collect();
    let (head, members) = lines
        .split_first_mut()
        .expect("a situation begins with the cluster");
    begin_with_tls(head, members);
    let (head, members) = (&*head, &*members);
    assert_eq!(head.0[0], "cluster", "a situation begins with the cluster");
    let now = Timestamp::from_second(1_795_000_000).expect("a time");
    let mut situation = Situation {
        cluster: cluster(head),
        observed: Observed::empty(now),
        now,
    };
    situation.observed.run_state = situation.cluster.spec.run_state;
    remember(&mut situation, head, members);
    situation.observed.classes = classes(head);
    network_policy(&mut situation, head);
    situation.observed.handshakes = handshakes(members);
    if head.has("certificates") {
        certificates(&mut situation, head);
    }
    cert_manager::read(&mut situation, head);
    accounts::read(&mut situation, head);
    accounts::declare(&mut situation, &declared);
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
    if head.value("stable").is_none() {
        let plan = plan::plan(&situation.cluster, &situation.observed, now);
        let stable = plan.report.memory.stable_template;
        if let Some(status) = situation.cluster.status.as_mut() {
            status.stable_template = stable;
        }
    }
    let operations = asked
        .iter()
        .enumerate()
        .map(|(age, it)| operation_asked(it, age, now));
    situation.observed.operations = operations.collect();
    situation.observed.recovering = situation
        .cluster
        .status
        .as_ref()
        .and_then(|it| it.recovering.clone());
    snapshots(head, &mut situation.observed);
    acknowledge(&mut situation);
    situation
}

/// Members of a cluster with TLS between them are where such a cluster begins, unless they are said to be elsewhere.
fn begin_with_tls<'a>(head: &Words<'a>, members: &mut [Words<'a>]) {
    let tls = head.value("tls").unwrap_or_default();
    let secured =
        ["Operator", "Secret", "CertManager"].map(|it| format!("\"peer\":{{\"mode\":\"{it}\""));
    let begun = head.value("listeners").is_none() && secured.iter().any(|it| tls.contains(it));
    for line in members.iter_mut().filter(|_| begun) {
        line.0.push("at=https:2380");
    }
}

/// `http:2380+https:2382`: where members listen, under TLS with the operator's certificates.
fn listeners(situation: &Situation, head: &Words<'_>) -> Vec<PeerListener> {
    let Some(text) = head.value("listeners") else {
        let tls = situation.cluster.spec.tls.clone().unwrap_or_default();
        let tls = tls.peer.filter(|it| it.mode != TlsMode::Disabled);
        return vec![PeerListener::new(2380, tls)];
    };
    let listener = |text: &str| {
        let (scheme, port) = text.split_once(':').expect("a scheme and a port");
        let tls = PeerTls {
            mode: TlsMode::Operator,
            ..PeerTls::default()
        };
        let tls = Some(tls).filter(|_| scheme == "https");
        PeerListener::new(port.parse().expect("a port"), tls)
    };
    let all = text.split('+').filter(|it| !it.is_empty());
    all.map(listener).collect()
}

/// Puts the plan of now where an operation acknowledges `PLAN`, and shows it there.
fn acknowledge(situation: &mut Situation) {
    let actions = plan::plan(&situation.cluster, &situation.observed, situation.now).actions;
    let shown = actions.into_iter().find_map(|it| match it {
        Action::TellOperation(told) => told.status?.plan,
        _ => None,
    });
    for operation in &mut situation.observed.operations {
        let asked = operation.spec.recover_quorum.as_mut();
        let Some(asked) = asked.filter(|it| it.acknowledge.as_deref() == Some("PLAN")) else {
            continue;
        };
        let recovery = shown.as_ref().and_then(|it| it.recovery.as_ref());
        asked.acknowledge = recovery.map(|it| it.name.clone());
        operation.status.get_or_insert_default().plan = shown.clone();
    }
}

/// Which storage classes let volumes grow.
fn classes(head: &Words<'_>) -> BTreeMap<String, bool> {
    let all = head.value("classes").unwrap_or_default().split(',');
    all.filter_map(|it| it.split_once('/'))
        .map(|(name, grows)| (name.to_owned(), grows == "yes"))
        .collect()
}

/// `operation NAME [ending] spec=JSON status=JSON`: each a second younger than the one before.
fn operation_asked(line: &str, age: usize, now: Timestamp) -> RaftOperation {
    let line = (1..=9).fold(line.to_owned(), |line, serial| {
        line.replace(&format!("\"m{serial}\""), &format!("\"{}\"", real(serial)))
    });
    let words = Words(line.split_whitespace().collect());
    let json_of = |key| {
        words
            .value(key)
            .map(|it| serde_json::from_str::<Value>(it).expect("JSON"))
    };
    let mut spec = json_of("spec").expect("an operation has a spec");
    spec["clusterName"] = json!("kv");
    let created = now - SignedDuration::from_secs(100 - i64::try_from(age).expect("a number"));
    serde_json::from_value(json!({
        "apiVersion": "quorate.io/v1alpha1",
        "kind": "RaftOperation",
        "metadata": {
            "name": words.0[1], "namespace": "demo", "uid": words.0[1],
            "creationTimestamp": created.to_string(),
            "deletionTimestamp": words.has("ending").then_some("2026-11-18T00:00:00Z"),
        },
        "spec": spec,
        "status": json_of("status"),
    }))
    .expect("an operation")
}

fn cluster(head: &Words<'_>) -> RaftCluster {
    let mut spec = json!({
        "replicas": head.number("replicas").unwrap_or(3),
        "learners": head.number("learners").unwrap_or(0),
        "storage": {
            "size": head.value("size").unwrap_or("4Gi"),
            "storageClassName": head.value("class"),
            "changePolicy": head.value("change").unwrap_or("ReplaceMember"),
            "retentionPolicy": {
                "whenScaled": head.value("when-scaled"),
                "whenReplaced": head.value("when-replaced"),
                "replacedTTLSeconds": head.number("ttl"),
                "scaledTTLSeconds": head.number("scaled-ttl"),
            },
        },
        "paused": head.has("paused"),
        "runState": head.value("run").unwrap_or("Running"),
        "deletionPolicy": head.value("policy").unwrap_or("Retain"),
        "engine": head.value("engine").unwrap_or("Quorate"),
        "image": head.value("image"),
        "onNoSpace": head.value("on-no-space").unwrap_or("Reclaim"),
        "version": head.value("version"),
        "repairPolicy": {"mode": head.value("repair").unwrap_or("Automatic")},
    });
    if let Some(grow) = head.value("grow") {
        let parts: Vec<&str> = grow.split('/').collect();
        spec["storage"]["autoGrow"] = json!({
            "thresholdPercent": parts[0].parse::<i32>().expect("a percentage"),
            "increment": parts[1],
            "maxSize": parts[2],
            "cooldownSeconds": parts[3].parse::<i64>().expect("seconds"),
        });
    }
    if let Some(overlay) = head.value("overlay") {
        spec["podTemplate"] =
            json!({"spec": serde_json::from_str::<Value>(overlay).expect("an overlay is JSON")});
    }
    if let Some(update) = head.value("update") {
        spec["updateStrategy"] = serde_json::from_str(update).expect("an update strategy is JSON");
    }
    if let Some(resources) = head.value("resources") {
        spec["resources"] = serde_json::from_str(resources).expect("resources are JSON");
    }
    let plain = r#"{"peer":{"mode":"Disabled"},"client":{"mode":"Disabled"}}"#;
    match head.value("tls").unwrap_or(plain) {
        "unnamed" => {}
        tls => spec["tls"] = serde_json::from_str(tls).expect("tls is JSON"),
    }
    if let Some(network) = head.value("network") {
        spec["networkPolicy"] = serde_json::from_str(network).expect("options are JSON");
    }
    if let Some(windows) = head.value("windows") {
        spec["maintenanceWindows"] = serde_json::from_str(windows).expect("windows are JSON");
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

/// Secrets as the planner itself would have them made before the first pod.
fn keyrings(cluster: &RaftCluster, now: Timestamp) -> Vec<Keyring> {
    let mut bare = cluster.clone();
    let status = bare.status.unwrap_or_default();
    bare.status = Some(RaftClusterStatus {
        peer_listeners: status.peer_listeners,
        tls_default: status.tls_default,
        ..RaftClusterStatus::default()
    });
    bare.spec.paused = false;
    bare.metadata.deletion_timestamp = None;
    let mut observed = Observed::empty(now);
    loop {
        let actions = plan::plan(&bare, &observed, now).actions;
        let issued = actions.into_iter().find_map(|it| match it {
            Action::IssueCertificates(issue) => Some(keyring(now, &issue)),
            _ => None,
        });
        match issued {
            Some(keyring) => observed.keyrings.push(keyring),
            None => return observed.keyrings,
        }
    }
}

/// Those that are there; one of them may be amiss.
fn certificates(situation: &mut Situation, head: &Words<'_>) {
    let amiss = |word: &str, it: &Keyring| head.value(word) == Some(&it.secret);
    for mut keyring in keyrings(&situation.cluster, situation.now) {
        if amiss("due", &keyring) {
            let due = situation.now + SignedDuration::from_hours(24 * 100);
            keyring.ends.insert("tls".to_owned(), due);
        }
        if amiss("aging", &keyring) {
            let end = situation.now + SignedDuration::from_hours(24 * 300);
            keyring.ends.insert("ca".to_owned(), end);
        }
        if amiss("both", &keyring) {
            keyring.roots.insert(0, "new".to_owned());
            let shown = "new/tls".to_owned();
            keyring.fingerprints.insert("tls".to_owned(), shown);
        }
        if amiss("prepared", &keyring) {
            keyring.roots.push("new".to_owned());
            keyring.entries.insert("next-ca.key".to_owned());
        }
        if amiss("stolen", &keyring) {
            keyring.cluster_uid = None;
        }
        if amiss("keyless", &keyring) {
            keyring.entries.retain(|it| it.ends_with(".crt"));
        }
        if !amiss("without", &keyring) {
            situation.observed.keyrings.push(keyring);
        }
    }
}

fn keyring(now: Timestamp, issue: &Issue) -> Keyring {
    let secret = issue.secret.metadata.name.clone().expect("a name");
    let stems = || issue.leaves.iter().map(|it| it.file).chain(["ca"]);
    let (authority, has_key) = match &issue.authority {
        Authority::Kept { secret } => (secret.name.clone(), false),
        _ => (secret.clone(), true),
    };
    let entries = stems().flat_map(|it| [format!("{it}.crt"), format!("{it}.key")]);
    let end = |stem| {
        if stem == "ca" {
            AUTHORITY_LASTS
        } else {
            LEAF_LASTS
        }
    };
    Keyring {
        uid: format!("uid-{secret}"),
        version: Some("1".to_owned()),
        cluster_uid: Some(UID.to_owned()),
        entries: entries.filter(|it| has_key || it != "ca.key").collect(),
        roots: vec![authority.clone()],
        fingerprints: stems()
            .map(|it| (it.to_owned(), format!("{authority}/{it}")))
            .collect(),
        authority: Some(authority),
        ends: stems().map(|it| (it.to_owned(), now + end(it))).collect(),
        subjects: issue
            .leaves
            .iter()
            .map(|it| (it.file.to_owned(), it.common_name.clone()))
            .collect(),
        secret,
        ..Keyring::default()
    }
}

/// What the status remembers of templates.
fn templates(head: &Words<'_>, now: Timestamp, status: &mut RaftClusterStatus) {
    let image = head.value("stable");
    status.stable_template = image.and_then(|it| template(head, Some(it)));
    let Some(begun) = head.number("begun") else {
        return;
    };
    let ago = |seconds| Time(now - SignedDuration::from_secs(seconds));
    let asked = template(head, head.value("image")).expect("what is asked for can converge");
    status.rollout = Some(RolloutStatus {
        revision: if head.has("of-another") {
            "another".to_owned()
        } else {
            asked.revision
        },
        updated: 0,
        progressed_at: ago(begun),
        canary_healthy_since: head.number("soaking").map(ago),
        canary_soaked: head.has("soaked"),
        failure: head.has("fell").then(|| RolloutFailure {
            at: ago(0),
            message: "the pod of member m2 is waiting".to_owned(),
        }),
    });
}

/// What a cluster with this image remembers when it has converged.
fn template(head: &Words<'_>, image: Option<&str>) -> Option<StableTemplate> {
    let kept = ["learners=", "engine=", "version=", "resources=", "size="];
    let kept = head
        .0
        .iter()
        .filter(|it| kept.iter().any(|key| it.starts_with(key)));
    let mut words: Vec<String> = kept.map(|it| (*it).to_owned()).collect();
    words.extend(image.map(|it| format!("image={it}")));
    let text = format!("cluster replicas=1 {}\nm1 leader", words.join(" "));
    parse(&text).cluster.status?.stable_template
}

/// What a surface means that the spec does not name, as the status remembers it.
fn tls_default(head: &Words<'_>) -> Option<TlsDefault> {
    let said = head.value("tls-default")?;
    Some(serde_json::from_value(json!(said)).expect("a default"))
}

/// A recovery from quorum loss that is under way.
fn recovering(head: &Words<'_>) -> Option<Recovering> {
    let survivor = head.value("recovering")?;
    let serial: i64 = survivor[1..].parse().expect("a member");
    let lost = head.value("lost");
    Some(Recovering {
        operation: "one".to_owned(),
        operation_uid: "one".to_owned(),
        plan: "p".to_owned(),
        survivor: real(serial),
        claim_uid: format!("claim-{serial}"),
        lost_cluster_id: lost.map_or_else(|| format!("{CLUSTER_ID:x}"), ToOwned::to_owned),
        restored_before: None,
        snapshots: snapshotted(head)
            .map(|it| (it, SNAPSHOT_CLASS.to_owned()))
            .collect(),
    })
}

/// By which class volumes are snapshotted, where they can be.
const SNAPSHOT_CLASS: &str = "csi-snapshots";

/// Of whose volumes snapshots are latched.
fn snapshotted(head: &Words<'_>) -> impl Iterator<Item = String> {
    let named = head.value("snapshots").unwrap_or_default().split(',');
    named
        .filter(|it| !it.is_empty())
        .map(|it| real(it[1..].parse().expect("a member")))
}

/// Whether volumes can be snapshotted, and how far that is.
fn snapshots(head: &Words<'_>, observed: &mut Observed) {
    if head.has("snapshottable") {
        let by = (STORAGE_CLASS.to_owned(), SNAPSHOT_CLASS.to_owned());
        observed.snapshot_classes.extend([by]);
    }
    let status = match head.value("snapshot") {
        Some("waiting") => json!({}),
        Some("failed") => json!({"error": {"message": "the driver is away"}}),
        _ => json!({"creationTime": "2026-11-18T11:06:30Z"}),
    };
    for member in snapshotted(head) {
        let name = names::snapshot(&names::claim(&member), "p");
        let made = json!({"metadata": {"name": name}, "status": status});
        let seen = match head.value("snapshot") {
            Some("absent") => Sought::Absent,
            Some("forbidden") => Sought::Forbidden,
            Some("unserved") => Sought::Unserved,
            Some("unread") => continue,
            _ => Sought::There(serde_json::from_value(made).expect("a snapshot")),
        };
        observed.snapshots.insert(name, seen);
    }
}

/// What the status remembers.
fn remember(situation: &mut Situation, head: &Words<'_>, members: &[Words<'_>]) {
    let highest = members.iter().map(serial).max().unwrap_or(0);
    let joining = head.number("joining");
    let unseen = head.has("fresh") && joining.is_none() && members.is_empty();
    if unseen || head.has("statusless") {
        return;
    }
    let listeners = listeners(situation, head);
    let status = situation.cluster.status.get_or_insert_default();
    if !head.has("fresh") {
        status.peer_listeners = listeners;
    }
    status.serial = head
        .number("serial")
        .unwrap_or(highest.max(joining.unwrap_or(0)));
    status.joining = joining.map(|serial| Joining {
        name: real(serial),
        serial,
        learner: head.has("joining-learner"),
    });
    let permanent = members.iter().any(|it| it.has("permanent"));
    status.learners = permanent.then(String::new);
    status.reclaiming = head.value("reclaiming").map(|it| crds::Reclaiming {
        revision: it.trim_end_matches('!').parse().expect("a revision"),
        compacted: it.ends_with('!'),
    });
    status.quorum = head.number("required").map(|it| crds::Quorum {
        required: i32::try_from(it).expect("a majority"),
        ..crds::Quorum::default()
    });
    status.tls_default = tls_default(head);
    status.recovering = recovering(head);
    let network = head.has("network-remembered") || head.value("network-was").is_some();
    let network = network && !head.has("network-untold");
    status.network_policy = network.then_some(NetworkPolicyMode::Managed);
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
    status.repair = repair(members, situation.now);
    status.recovery = head.number("failed").map(|it| Recovery {
        last_failure: Time(situation.now - SignedDuration::from_secs(it)),
        detected: Time(situation.now - SignedDuration::from_secs(it - 1)),
        restored: None,
        voters_at_risk: 1,
    });
    status.storage = head.value("grown").map(|it| grown(it, situation.now));
    templates(head, situation.now, status);
    status.certificates = rotating(head, situation.now);
    status.operation = head
        .value("operation")
        .map(|it| operation(it, situation.now));
}

/// `Peer/Trust/20`: the surface, the step, and the seconds since it was taken.
fn rotating(head: &Words<'_>, now: Timestamp) -> Option<CertificatesStatus> {
    let parts: Vec<&str> = head.value("rotating")?.split('/').collect();
    let ago = |it: &&str| SignedDuration::from_secs(it.parse().expect("seconds"));
    let word = |it: &str| Value::String(it.to_owned());
    let rotation = CertificateRotation {
        surface: serde_json::from_value(word(parts[0])).expect("a surface"),
        step: serde_json::from_value(word(parts[1])).expect("a step"),
        since: Time(now - SignedDuration::from_secs(60)),
        taken_at: parts.get(2).map(|it| Time(now - ago(it))),
        overlap_seconds: 3600,
    };
    Some(CertificatesStatus {
        rotations: vec![rotation],
        ..CertificatesStatus::default()
    })
}

/// How members shake hands.
fn handshakes(members: &[Words<'_>]) -> BTreeMap<(String, Surface), Result<Handshake, String>> {
    let of = |line: &Words<'_>| {
        let shows = line.value("shows")?.to_owned();
        let trusts = line.value("trusts").unwrap_or_default().split('+');
        let handshake = Handshake {
            trusts: trusts.map(ToOwned::to_owned).collect(),
            issuer: shows.split('/').next().unwrap_or_default().to_owned(),
            shows,
        };
        Some(((real(serial(line)), Surface::Peer), Ok(handshake)))
    };
    members.iter().filter_map(of).collect()
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
        } else if line.has("was-asleep") {
            MemberPhase::Hibernated
        } else {
            MemberPhase::Pending
        },
        ..MemberStatus::default()
    }
}

/// `suspect=CrashLoop/90/2`: cause, seconds since it was first seen, restarts then; `begun=5`: a replacement, seconds ago.
fn repair(members: &[Words<'_>], now: Timestamp) -> Option<RepairStatus> {
    let ago = |text: &str| Time(now - SignedDuration::from_secs(text.parse().expect("seconds")));
    let cause = |text: &str| serde_json::from_value(json!(text)).expect("a cause");
    let mut repair = RepairStatus::default();
    for line in members {
        let member = real(serial(line));
        let parts: Vec<&str> = line
            .value("suspect")
            .unwrap_or_default()
            .split('/')
            .collect();
        if let [kind, since, rest @ ..] = &parts[..] {
            repair.suspects.push(Suspect {
                member: member.clone(),
                cause: cause(kind),
                since: ago(since),
                restarts: rest.first().map(|it| it.parse().expect("restarts")),
            });
        }
        if let Some(begun) = line.value("begun") {
            repair.replacements.push(Replacement {
                member,
                cause: RepairCause::VolumeLost,
                at: ago(begun),
            });
        }
    }
    repair.replacements.sort_by_key(|it| it.at.0);
    Some(repair).filter(|it| *it != RepairStatus::default())
}

/// `4Gi/5Gi/900`: the size asked for, the one grown to, seconds since.
fn grown(text: &str, now: Timestamp) -> StorageStatus {
    let parts: Vec<&str> = text.split('/').collect();
    let ago = SignedDuration::from_secs(parts[2].parse().expect("seconds"));
    StorageStatus {
        asked: parts[0].to_owned(),
        size: parts[1].to_owned(),
        grown_at: Some(Time(now - ago)),
    }
}

/// `Rollout/m2/900/Quorum`: kind, member, seconds since it began, what it waited for.
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
        blocked_by: parts.get(3).map(|gate| blocked(gate)).into_iter().collect(),
    }
}

fn blocked(gate: &str) -> BlockedBy {
    BlockedBy {
        gate: gate.to_owned(),
        message: String::new(),
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

/// The policy that is there, and whom the operator takes for itself.
fn network_policy(situation: &mut Situation, head: &Words<'_>) {
    situation.observed.operator =
        (head.value("operator") != Some("unknown")).then(|| OperatorPods {
            namespace: "quorate-system".to_owned(),
            labels: [("app".to_owned(), "operator".to_owned())].into(),
        });
    let Some(options) = head.value("network-was") else {
        return;
    };
    let mut bare = situation.cluster.clone();
    bare.spec.paused = false;
    bare.spec.network_policy = serde_json::from_str(options).expect("options are JSON");
    let mut observed = Observed::empty(situation.now);
    observed.operator.clone_from(&situation.observed.operator);
    for action in plan::plan(&bare, &observed, situation.now).actions {
        if let Action::ApplyNetworkPolicy(mut it) = action {
            it.metadata.uid = Some("policy".to_owned());
            situation.observed.network_policies.push(*it);
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
    if let Some(footing) = footing(line, serial) {
        let footings = &mut situation.observed.footings;
        footings.insert(name.clone(), footing);
    }
    if let Some(probe) = probe(situation.now, line, all) {
        situation.observed.probes.insert(name, probe);
    }
}

/// `node=dead`: the node of a member that does not answer is not heard of; `tied`: its volume can be used nowhere else.
/// `node=cordoned` and `node=up`: that of one that answers.
fn footing(line: &Words<'_>, serial: i64) -> Option<Footing> {
    let state = line.value("node")?;
    let node = |ready: &str| -> Node {
        let conditions = json!([{"type": "Ready", "status": ready}]);
        let name = format!("node-{serial}");
        serde_json::from_value(
            json!({"metadata": {"name": name}, "status": {"conditions": conditions}}),
        )
        .expect("a node")
    };
    let (node, only) = match state {
        "dead" => (Seen::There(node("Unknown")), vec![node("Unknown")]),
        "gone" => (Seen::Absent, Vec::new()),
        "cordoned" => {
            let mut cordoned = node("True");
            cordoned.spec.get_or_insert_default().unschedulable = Some(true);
            (Seen::There(cordoned), Vec::new())
        }
        "hidden" => (Seen::Forbidden, Vec::new()),
        _ => (Seen::There(node("True")), vec![node("True")]),
    };
    let within = match state {
        "hidden" => Seen::Forbidden,
        _ if line.has("tied") => Seen::There(only),
        _ => Seen::Nothing,
    };
    Some(Footing { node, within })
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
        "spec": {"clusterName": "kv", "clusterUID": UID, "serial": serial, "learner": line.has("permanent")},
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
    let left = line.value("left").map(|it| (names::LEFT, it.to_owned()));
    let kept = line.number("kept").map(|seconds| {
        let since = situation.now - SignedDuration::from_secs(seconds);
        (names::KEPT_SINCE, since.to_string())
    });
    let restored = line.value("restored");
    let restored = restored.map(|it| (names::RESTORED, it.to_owned()));
    let marks = left.into_iter().chain(kept).chain(restored);
    let annotations = claim.metadata.annotations.get_or_insert_default();
    annotations.extend(marks.map(|(key, value)| (key.to_owned(), value)));
    if let Some((request, capacity)) = line.value("volume").and_then(|it| it.split_once('/')) {
        size(&mut claim, line, situation.now, request, capacity);
    }
    if situation.cluster.spec.deletion_policy == crds::DeletionPolicy::Delete
        && line.value("owner") != Some("no")
    {
        let owner = json!([{"apiVersion": "quorate.io/v1alpha1", "kind": "RaftCluster", "name": "kv", "uid": UID, "controller": true}]);
        claim.metadata.owner_references = serde_json::from_value(owner).expect("an owner");
    }
    situation.observed.claims.push(claim);
}

/// What a claim asks for, what it has, and how far it is.
fn size(
    claim: &mut PersistentVolumeClaim,
    line: &Words<'_>,
    now: Timestamp,
    request: &str,
    capacity: &str,
) {
    let asked = line.value("asked").unwrap_or(request).to_owned();
    let annotations = claim.metadata.annotations.get_or_insert_default();
    if asked != "unknown" {
        annotations.insert(names::SIZE.to_owned(), asked);
    }
    let class = line.value("volume-class").map(ToOwned::to_owned);
    annotations.extend(class.map(|it| (names::CLASS.to_owned(), it)));
    let spec = json!({
        "storageClassName": line.value("volume-class").unwrap_or(STORAGE_CLASS),
        "resources": {"requests": {"storage": request}},
    });
    claim.spec = Some(serde_json::from_value(spec).expect("a claim's spec"));
    if capacity == "none" {
        return;
    }
    let resizing = line.value("resizing").and_then(|it| it.split_once('/'));
    let conditions: Vec<Value> = resizing
        .iter()
        .map(|(kind, seconds)| {
            let since = now - SignedDuration::from_secs(seconds.parse().expect("seconds"));
            json!({"type": kind, "status": "True", "lastTransitionTime": since.to_string()})
        })
        .collect();
    let status =
        json!({"phase": "Bound", "capacity": {"storage": capacity}, "conditions": conditions});
    claim.status = Some(serde_json::from_value(status).expect("a claim's status"));
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
    let status = situation.cluster.status.as_ref();
    let hash = match line.value("template") {
        Some("stable") => status.and_then(|it| Some(it.stable_template.as_ref()?.revision.clone())),
        Some("asked") => status.and_then(|it| Some(it.rollout.as_ref()?.revision.clone())),
        other => other.map(ToOwned::to_owned),
    };
    annotations.extend(hash.map(|it| (names::TEMPLATE_HASH.to_owned(), it)));
    let rendering = line.value("rendering").map(ToOwned::to_owned);
    annotations.extend(rendering.map(|it| (names::RENDERING_HASH.to_owned(), it)));
    tell(&mut pod, line, all);
    let learner = line.has("learner") || line.has("unstarted");
    let label = line
        .value("label")
        .unwrap_or(if learner { "learner" } else { "voter" });
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(names::ROLE_LABEL.to_owned(), label.to_owned());
    if state.starts_with("restor") {
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(names::RESTORES.to_owned(), "p".to_owned());
        let container = &mut pod.spec.get_or_insert_default().containers[0];
        container.args = Some(vec!["snapshot".to_owned(), "restore".to_owned()]);
    }
    let ago = |seconds| Time(situation.now - SignedDuration::from_secs(seconds));
    pod.metadata.creation_timestamp = line.number("age").map(ago);
    if state == "ending" {
        pod.metadata.deletion_timestamp = Some(ago(line.number("overdue").unwrap_or(0)));
    }
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(format!("node-{serial}"));
    let status = match state {
        "failed" => json!({"phase": "Failed", "reason": "Evicted"}),
        "succeeded" | "restored" => json!({"phase": "Succeeded"}),
        "restore-failed" => json!({"phase": "Failed", "containerStatuses": [{
            "name": "member", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "reason": "Error"}},
        }]}),
        "pulling" => json!({"phase": "Pending", "containerStatuses": [{
            "name": "member", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
        }]}),
        "crashing" => json!({"phase": "Running", "containerStatuses": [{
            "name": "member", "image": "", "imageID": "", "ready": false, "restartCount": line.number("restarts").unwrap_or(1),
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": if line.has("oom") { "OOMKilled" } else { "Error" }}},
        }]}),
        "restarted" => {
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{
                "name": "member", "image": "", "imageID": "", "ready": true, "restartCount": line.number("restarts").unwrap_or(1),
                "state": {"running": {"startedAt": ago(5).0.to_string()}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
            }]})
        }
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
                .split_once("://")
                .and_then(|(_, rest)| rest.split_once('.'))
                .map_or("", |it| it.0);
            format!("{host}={url}")
        })
        .collect();
    peers.sort();
    if line.value("told") == Some("old") {
        peers.push("gone=http://gone:2380".to_owned());
    }
    if let Some(secret) = line.value("mounting") {
        let volume = json!({"name": "old-tls", "secret": {"secretName": secret}});
        let spec = pod.spec.get_or_insert_default();
        let volumes = spec.volumes.get_or_insert_default();
        volumes.push(serde_json::from_value(volume).expect("a volume"));
    }
    let no_room = line.has("no-room");
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
    args.retain(|it| !no_room || !it.starts_with("--max-learners="));
}

fn rendered(situation: &Situation, serial: i64, name: &str) -> Pod {
    let mut cluster = situation.cluster.clone();
    cluster.spec.paused = false;
    cluster.spec.run_state = RunState::Running;
    cluster.metadata.deletion_timestamp = None;
    let status = cluster.status.get_or_insert_default();
    status.cluster_id = Some(format!("{CLUSTER_ID:x}"));
    // A pod of what is asked for, whatever has become of that.
    (status.stable_template, status.rollout) = (None, None);
    status.recovering = None;
    status.members = vec![MemberStatus {
        name: name.to_owned(),
        id: Some("1".to_owned()),
        claim_uid: Some("c".to_owned()),
        ..MemberStatus::default()
    }];
    let mut observed = Observed::empty(situation.now);
    observed.keyrings = keyrings(&cluster, situation.now);
    let signed = cert_manager::keyrings(&cluster, situation.now);
    observed.keyrings.extend(signed);
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
        cluster.spec.maintenance_windows.clear();
        cluster.spec.learners = 0;
        cluster.status.as_mut()?.tls_default = None;
        made(&cluster)
    });
    let mut pod = made.expect("the planner makes a pod that is missing");
    pod.metadata.uid = Some(format!("pod-{serial}"));
    pod
}

/// Mebibytes, in bytes.
fn bytes(mebibytes: &str) -> u64 {
    mebibytes.parse::<u64>().expect("mebibytes") << 20
}

/// States of a pod in which nobody can be asked.
const SILENT: [&str; 9] = [
    "none",
    "pulling",
    "unscheduled",
    "failed",
    "succeeded",
    "crashing",
    "restored",
    "restoring",
    "restore-failed",
];

/// What a member answers, if its pod has an address.
fn probe(now: Timestamp, line: &Words<'_>, all: &[Words<'_>]) -> Option<Probe> {
    let serial = serial(line);
    if line.value("pod").is_some_and(|it| SILENT.contains(&it)) {
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
        cluster_id: if line.has("alien") || line.has("alone") {
            0xbad
        } else {
            CLUSTER_ID
        },
        member_id: id(line.number("answers-as").unwrap_or(serial)),
        leader_id: if line.has("leaderless") { 0 } else { leader },
        term: 7,
        raft_index: index,
        applied_index: index,
        revision: line.number("revision").unwrap_or(5_000),
        is_learner: line.has("learner"),
        db_size: line.value("db").map(bytes),
        db_size_in_use: line.value("used").or(line.value("db")).map(bytes),
        version: line.value("version").unwrap_or("0.1.0").to_owned(),
        storage_version: line.value("data").map(ToOwned::to_owned),
        no_space: alarmed(all, "no-space"),
        corrupt: alarmed(all, "corrupt"),
        errors: line
            .value("error")
            .map(ToOwned::to_owned)
            .into_iter()
            .collect(),
        membership: if line.has("alone") {
            listed(line).map(|it| vec![it])
        } else {
            (leader != 0 && !line.has("leaderless"))
                .then(|| all.iter().filter_map(listed).collect())
        },
    };
    Some(Probe {
        taken_at,
        answer: Ok(answer),
    })
}

/// Members that an alarm is about; `m0` is nobody in particular.
fn alarmed(all: &[Words<'_>], alarm: &str) -> Vec<u64> {
    let about = all.iter().filter(|it| it.has(alarm)).map(serial);
    about.map(|it| if it == 0 { 0 } else { id(it) }).collect()
}

fn listed(line: &Words<'_>) -> Option<Listed> {
    let serial = serial(line);
    let at = line.value("at").unwrap_or("http:2380");
    let at = names::PeerPort::of_url(&at.replacen(':', "://:", 1)).expect("a scheme and a port");
    let unstarted = line.has("unstarted");
    (!line.has("unlisted")).then(|| Listed {
        id: id(serial),
        name: if unstarted {
            String::new()
        } else {
            real(serial)
        },
        peer_urls: vec![names::peer_url(at, "demo", "kv", &real(serial))],
        is_learner: unstarted || line.has("learner"),
    })
}
