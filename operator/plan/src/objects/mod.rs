//! Builders of every object the operator makes, one kind per file: plain functions from wishes to objects.
//!
//! Objects are written the way the API server gives them back (ports with protocol and target, for one), so that
//! [`covers`] can tell by comparing whether anything has to be applied at all.
//!
//! This folder deliberately decides nothing: whether an object is made, changed or deleted is the policies' business.

pub(crate) mod budget;
pub(crate) mod certificate;
pub(crate) mod claim;
pub(crate) mod member;
pub(crate) mod network_policy;
pub(crate) mod pod;
pub(crate) mod restore;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod snapshot;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use crate::{names, spec::Spec};

/// Metadata of an object of the cluster as a whole.
fn metadata(spec: &Spec, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(spec.namespace.clone()),
        labels: Some(names::labels(&spec.name)),
        annotations: Some(BTreeMap::from([(
            names::CLUSTER_UID.to_owned(),
            spec.uid.clone(),
        )])),
        owner_references: Some(vec![spec.owner()]),
        ..ObjectMeta::default()
    }
}

/// Metadata of an object of one member, without an owner.
fn member_metadata(spec: &Spec, name: String, member: &str) -> ObjectMeta {
    ObjectMeta {
        labels: Some(names::member_labels(&spec.name, member)),
        owner_references: None,
        ..metadata(spec, name)
    }
}

/// Whether everything that `wanted` says is so in `found`; what others have added does not count.
pub(crate) fn covers<T: Serialize>(found: &T, wanted: &T) -> bool {
    let value = |it: &T| serde_json::to_value(it).expect("an object is JSON");
    contains(&value(found), &value(wanted))
}

fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| found.get(key).is_some_and(|found| contains(found, wanted))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| contains(f, w))
        }
        (found, wanted) => found == wanted,
    }
}
