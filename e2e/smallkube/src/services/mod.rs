//! Services: the slices of endpoints behind them, and the forwarding of their addresses.
//!
//! It deliberately forwards TCP only.

mod forward;

pub(crate) use forward::forward;

use crate::agent::port;
use crate::budgets::is_ready;
use crate::object::Object;
use crate::selectors::Selector;
use crate::verbs::delete::Deleting;
use crate::verbs::{Objects, Part, Writing};
use serde_json::{Value, json};
use std::sync::Arc;

const SLICES: &str = "endpointslices.discovery.k8s.io";
const MANAGER: &str = "endpointslice-controller";

/// Brings the slice of every Service up to date; answers false: what it writes wakes it again.
pub(crate) fn refresh(objects: &Objects) -> bool {
    let pods = objects.list("pods");
    for service in objects.list("services").iter().filter(|s| !s.ends()) {
        let Some(selector) = Selector::from_map(service.pointer("/spec/selector")) else {
            continue;
        };
        let chosen: Vec<&Arc<Value>> = pods
            .iter()
            .filter(|p| p.namespace() == service.namespace() && selector.matches(p))
            .filter(|p| !p.text("/status/podIP").is_empty())
            .filter(|p| !matches!(p.text("/status/phase"), "Succeeded" | "Failed"))
            .collect();
        write(objects, service, &chosen);
    }
    for slice in objects.list(SLICES) {
        remove_stray(objects, &slice);
    }
    false
}

fn slice_name(service: &Value) -> String {
    format!("{}-v4", service.name())
}

fn write(objects: &Objects, service: &Value, pods: &[&Arc<Value>]) {
    let name = slice_name(service);
    let (endpoints, ports) = (endpoints(service, pods), ports(service, pods));
    let target = objects.target(SLICES, service.namespace(), &name, Part::Main);
    let Some(target) = target else {
        return;
    };
    if objects.find(SLICES, service.namespace(), &name).is_some() {
        objects.edit(&target, MANAGER, |slice| {
            slice["endpoints"] = endpoints;
            slice["ports"] = ports;
        });
        return;
    }
    let slice = json!({
        "metadata": {
            "labels": {
                "kubernetes.io/service-name": service.name(),
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": service.name(), "uid": service.uid(),
                "controller": true, "blockOwnerDeletion": true}],
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    });
    if let Err(refusal) = objects.create(&target, slice, &Writing::by(MANAGER)) {
        tracing::debug!(why = refusal.message, "no slice in a namespace that ends");
    }
}

fn endpoints(service: &Value, pods: &[&Arc<Value>]) -> Value {
    let always = service["spec"]["publishNotReadyAddresses"] == true;
    let one = |pod: &&Arc<Value>| {
        let ready = is_ready(pod);
        let mut endpoint = json!({
            "addresses": [pod.text("/status/podIP")],
            "conditions": {
                "ready": always || ready && !pod.ends(), "serving": ready, "terminating": pod.ends()},
            "nodeName": pod.text("/spec/nodeName"),
            "targetRef": {"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()},
        });
        let hostname = pod.text("/spec/hostname");
        if !hostname.is_empty() && pod.text("/spec/subdomain") == service.name() {
            endpoint["hostname"] = json!(hostname);
        }
        endpoint
    };
    pods.iter().map(one).collect()
}

/// The ports behind the Service's; a name is looked up in the first pod, since one slice has one set of ports.
fn ports(service: &Value, pods: &[&Arc<Value>]) -> Value {
    let ports = service.items("/spec/ports").iter().map(|wanted| {
        let target = &wanted["targetPort"];
        let containers = pods
            .first()
            .map_or(&[][..], |p| p.items("/spec/containers"));
        let found = match target {
            Value::String(_) => containers
                .iter()
                .find_map(|c| port(c, target))
                .map(i64::from),
            number => number.as_i64(),
        };
        let mut port = json!({"name": wanted.text("/name"), "protocol": wanted.text("/protocol")});
        if let Some(found) = found {
            port["port"] = json!(found);
        }
        port
    });
    ports.collect()
}

/// A Service that lost its selector has no slice of ours.
fn remove_stray(objects: &Objects, slice: &Value) {
    let ours = slice.label("endpointslice.kubernetes.io/managed-by")
        == Some("endpointslice-controller.k8s.io");
    let name = slice
        .label("kubernetes.io/service-name")
        .unwrap_or_default();
    let service = objects.find("services", slice.namespace(), name);
    let wanted = service.is_some_and(|s| s.pointer("/spec/selector").is_some());
    if ours
        && !wanted
        && !slice.ends()
        && let Some(target) = objects.target(SLICES, slice.namespace(), slice.name(), Part::Main)
    {
        // Gone in between is what was wanted.
        let _ = objects.delete(&target, &Deleting::default());
    }
}
