//! Pretended nodes: they are there, they are ready, and on request they pause, die and come back.
//!
//! A node that is silent for long enough is marked, tainted, and its pods are told to go; they do when their node returns,
//! or when somebody removes them by force, as in a real cluster. It deliberately gives no node any limit of its own.

use crate::agent::Pace;
use crate::object::Object;
use crate::verbs::delete::Deleting;
use crate::verbs::{Objects, Part, Writing};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    Up,
    /// It and everything on it stands still, and it is silent.
    Paused,
    /// It and every process on it is dead.
    Down,
}

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Registers a node.
pub(crate) fn register(objects: &Objects, name: &str) {
    let now = objects.now_text();
    let node = json!({
        "metadata": {"labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": format!("zone-{name}"),
        }},
        "spec": {},
        "status": {
            "capacity": {"cpu": "64", "memory": "256Gi", "pods": "250"},
            "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "250"},
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "kubeletVersion": "v1.34.0+smallkube", "kubeProxyVersion": "", "osImage": "this machine",
                "operatingSystem": "linux", "architecture": "amd64", "containerRuntimeVersion": "smallkube://1",
                "kernelVersion": "", "machineID": name, "systemUUID": name, "bootID": name,
            },
            "conditions": [ready("True", "KubeletReady", &now)],
        },
    });
    if let Some(target) = objects.target("nodes", "", name, Part::Main) {
        let made = objects.create(&target, node, &Writing::by("kubelet"));
        assert!(made.is_ok(), "a node is valid: {made:?}");
    }
}

fn ready(status: &str, reason: &str, now: &str) -> Value {
    json!({
        "type": "Ready", "status": status, "reason": reason, "message": "",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    })
}

/// Follows the power of all nodes and marks those that are silent for too long.
pub(crate) async fn follow(
    objects: Arc<Objects>,
    mut power: watch::Receiver<BTreeMap<String, Power>>,
    pace: Pace,
    stop: CancellationToken,
) {
    let mut silent: BTreeMap<String, Instant> = BTreeMap::new();
    let mut marked: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        for (name, now) in power.borrow_and_update().iter() {
            if *now == Power::Up {
                if marked.remove(name).is_some() {
                    mark(&objects, name, true);
                }
                silent.remove(name);
            } else if !marked.contains_key(name) {
                silent.entry(name.clone()).or_insert_with(Instant::now);
            }
        }
        let due: Vec<String> = silent
            .iter()
            .filter(|(_, since)| since.elapsed() >= pace.node_grace)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            silent.remove(&name);
            mark(&objects, &name, false);
            marked.insert(name, Instant::now());
        }
        for (name, since) in &marked {
            drive_out(&objects, name, *since);
        }
        let next = next_look(&silent, &marked, pace);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = power.changed() => if changed.is_err() { return },
            () = sleep_until(next) => {}
        }
    }
}

/// When something can next be due: a grace that ends, or once a second while pods are to be driven out.
fn next_look(
    silent: &BTreeMap<String, Instant>,
    marked: &BTreeMap<String, Instant>,
    pace: Pace,
) -> Instant {
    let second = std::time::Duration::from_secs(1);
    let idle = Instant::now()
        + if marked.is_empty() {
            second * 3600
        } else {
            second
        };
    let graces = silent.values().map(|since| *since + pace.node_grace);
    graces.fold(idle, Instant::min)
}

/// Writes into a node, and into its pods, whether it is heard.
fn mark(objects: &Objects, name: &str, heard: bool) {
    let now = objects.now_text();
    if let Some(target) = objects.target("nodes", "", name, Part::Status) {
        objects.edit(&target, "kube-controller-manager", |node| {
            let next = if heard {
                ready("True", "KubeletReady", &now)
            } else {
                ready("Unknown", "NodeStatusUnknown", &now)
            };
            node.put(&["status", "conditions"], json!([next]));
        });
    }
    if let Some(target) = objects.target("nodes", "", name, Part::Main) {
        objects.edit(&target, "kube-controller-manager", |node| {
            taint(node, heard, &now)
        });
    }
    if heard {
        return;
    }
    for pod in on_node(objects, name) {
        if let Some(target) = objects.target("pods", pod.namespace(), pod.name(), Part::Status) {
            objects.edit(&target, "kube-controller-manager", |pod| {
                let status = &mut pod["status"];
                crate::agent::set_condition(status, "Ready", false, "NodeNotReady", &now);
            });
        }
    }
}

fn taint(node: &mut Value, heard: bool, now: &str) {
    let mut taints = node.items("/spec/taints").to_vec();
    taints.retain(|t| t["key"] != UNREACHABLE);
    if !heard {
        for effect in ["NoSchedule", "NoExecute"] {
            taints.push(json!({"key": UNREACHABLE, "effect": effect, "timeAdded": now}));
        }
    }
    if taints.is_empty() {
        node.take_away(&["spec", "taints"]);
    } else {
        node.put(&["spec", "taints"], Value::Array(taints));
    }
}

fn on_node(objects: &Objects, name: &str) -> Vec<Arc<Value>> {
    let mut pods = objects.list("pods");
    pods.retain(|pod| pod.text("/spec/nodeName") == name);
    pods
}

/// Tells the pods of an unreachable node to go once they have tolerated it for long enough.
fn drive_out(objects: &Objects, name: &str, since: Instant) {
    for pod in on_node(objects, name).iter().filter(|p| !p.ends()) {
        let tolerations = pod.items("/spec/tolerations");
        let own = tolerations.iter().find(|t| {
            let key = t.text("/key");
            let effect = t.text("/effect");
            (key == UNREACHABLE || key.is_empty()) && matches!(effect, "" | "NoExecute")
        });
        let patience = match own {
            Some(toleration) => match toleration.number("/tolerationSeconds") {
                Some(seconds) => seconds,
                None => continue,
            },
            None => 0,
        };
        if since.elapsed().as_secs() < u64::try_from(patience).unwrap_or(0) {
            continue;
        }
        let deleting = Deleting {
            uid: Some(pod.uid().to_owned()),
            ..Deleting::default()
        };
        if let Some(target) = objects.target("pods", pod.namespace(), pod.name(), Part::Main) {
            // Gone in between is what was wanted.
            let _ = objects.delete(&target, &deleting);
        }
    }
}
