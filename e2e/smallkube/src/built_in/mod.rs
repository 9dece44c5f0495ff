//! What the API server does to particular built-in kinds: their defaults, their own rules, what their creation entails.
//!
//! Schema and verbs are the same for every kind; what differs stands here. It deliberately copies only rules that a client
//! of this project could meet.

mod defaults;
mod rules;

pub(crate) use defaults::{drop_empty, fill_defaults};
pub(crate) use rules::{causes, metadata_causes};

use crate::kinds::Registry;
use crate::object::{Object, default_at};
use crate::refusal::{Cause, Refusal};
use crate::store::State;
use crate::verbs::Target;
use serde_json::{Value, json};

/// Where the definitions of custom resources live.
pub(crate) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Kinds whose `metadata.generation` the server counts.
pub(crate) fn has_generation(resource: &str) -> bool {
    matches!(
        resource,
        DEFINITIONS
            | "pods"
            | "poddisruptionbudgets.policy"
            | "networkpolicies.networking.k8s.io"
            | "endpointslices.discovery.k8s.io"
    )
}

/// What a new object gets from the server beyond its defaults.
pub(crate) fn before_create(
    state: &State,
    target: &Target,
    new: &mut Value,
) -> Result<(), Refusal> {
    match target.kind.resource.as_str() {
        "namespaces" => {
            let name = target.name.clone();
            new.put(
                &["metadata", "labels", "kubernetes.io/metadata.name"],
                json!(name),
            );
            new.put(&["spec", "finalizers"], json!(["kubernetes"]));
            new.put(&["status", "phase"], json!("Active"));
        }
        "pods" => defaults::admit_pod(new),
        "persistentvolumeclaims" => {
            add_finalizer(new, "kubernetes.io/pvc-protection");
            new.put(&["status"], json!({"phase": "Pending"}));
            if new.pointer("/spec/storageClassName").is_none()
                && let Some(class) = default_class(state)
            {
                new.put(&["spec", "storageClassName"], json!(class));
            }
        }
        "persistentvolumes" => {
            add_finalizer(new, "kubernetes.io/pv-protection");
            new.put(&["status"], json!({"phase": "Pending"}));
        }
        "services" => {
            new.put(&["status"], json!({"loadBalancer": {}}));
            default_at(new, &["spec", "ipFamilies"], json!(["IPv4"]));
            default_at(new, &["spec", "ipFamilyPolicy"], json!("SingleStack"));
            assign_address(state, new)?;
        }
        "poddisruptionbudgets.policy" => {
            new.take_away(&["status"]);
        }
        DEFINITIONS => {
            add_finalizer(new, "customresourcecleanup.apiextensions.k8s.io");
            establish(new);
        }
        _ => {}
    }
    Ok(())
}

/// What an update of a built-in object may not change by accident, put back or kept.
pub(crate) fn before_update(target: &Target, live: &Value, new: &mut Value) -> Result<(), Refusal> {
    match target.kind.resource.as_str() {
        "services" => {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if let Some(value) = live["spec"].get(field) {
                    default_at(new, &["spec", field], value.clone());
                }
            }
        }
        "persistentvolumeclaims" => {
            for field in ["storageClassName", "volumeName"] {
                if let Some(value) = live["spec"].get(field) {
                    default_at(new, &["spec", field], value.clone());
                }
            }
        }
        DEFINITIONS => establish(new),
        _ => {}
    }
    Ok(())
}

/// The registry after a definition was written, or what is wrong with the definition.
pub(crate) fn kinds_after(
    state: &State,
    target: &Target,
    new: &Value,
) -> Result<Option<Registry>, Cause> {
    if target.kind.resource != DEFINITIONS {
        return Ok(None);
    }
    let expected = format!(
        "{}.{}",
        new.text("/spec/names/plural"),
        new.text("/spec/group")
    );
    if expected != target.name {
        let why = "must be spec.names.plural+\".\"+spec.group";
        return Err(Cause::invalid("metadata.name", &json!(target.name), why));
    }
    let next = state.kinds.with_definition(new);
    next.map(Some).map_err(|why| {
        let schema = "spec.versions[*].schema.openAPIV3Schema";
        Cause::invalid(schema, &json!("schema"), &why)
    })
}

fn add_finalizer(new: &mut Value, finalizer: &str) {
    let mut finalizers = new.finalizers();
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
    new.put_finalizers(&finalizers);
}

fn default_class(state: &State) -> Option<String> {
    let mark = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
    state
        .all("storageclasses.storage.k8s.io", None)
        .find(|(_, class)| class.text(mark) == "true")
        .map(|(key, _)| key.name.clone())
}

/// A definition is served from the moment it is stored.
fn establish(new: &mut Value) {
    let names = new["spec"]["names"].clone();
    let kind = names.text("/kind").to_owned();
    default_at(
        new,
        &["spec", "names", "singular"],
        json!(kind.to_lowercase()),
    );
    default_at(
        new,
        &["spec", "names", "listKind"],
        json!(format!("{kind}List")),
    );
    let stored: Vec<Value> = new
        .items("/spec/versions")
        .iter()
        .filter(|v| v["storage"] == true)
        .map(|v| v["name"].clone())
        .collect();
    let since = new.text("/metadata/creationTimestamp").to_owned();
    let condition = |form: &str, reason: &str, message: &str| json!({"type": form, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since});
    let status = json!({
        "acceptedNames": new["spec"]["names"],
        "storedVersions": stored,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    });
    new.put(&["status"], status);
}

/// A Service gets an address of its own; the network of services is what the cluster's node says it is.
fn assign_address(state: &State, new: &mut Value) -> Result<(), Refusal> {
    if matches!(new.text("/spec/type"), "ExternalName") || !new.text("/spec/clusterIP").is_empty() {
        let given = new.text("/spec/clusterIP").to_owned();
        if !given.is_empty() {
            new.put(&["spec", "clusterIPs"], json!([given]));
        }
        return Ok(());
    }
    let taken: Vec<&str> = state
        .all("services", None)
        .map(|(_, service)| service.text("/spec/clusterIP"))
        .collect();
    let free = (1..=32_000_u32)
        .map(|n| state.service_address(n))
        .find(|address| !taken.contains(&address.as_str()))
        .ok_or_else(|| Refusal::new(500, "InternalError", "no service address is free"))?;
    new.put(&["spec", "clusterIP"], json!(free));
    new.put(&["spec", "clusterIPs"], json!([free]));
    Ok(())
}
