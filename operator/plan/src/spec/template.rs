//! The template: what of a spec makes the members' pods, its hash, and the one that is remembered.
//!
//! It deliberately knows no pod: what is rendered from a template is `objects/pod.rs`'s business.

use std::collections::BTreeMap;

use crds::{AntiAffinity, Options, PeerListener, StableTemplate};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Spec, quota};
use crate::{
    certificates,
    names::{self, Scheme, Surface},
};

impl Spec {
    /// Over what the user asked for, and only where it differs from the default: a newer operator that renders the pod
    /// another way, or knows one more option, restarts nothing.
    pub(super) fn hash(&self) -> String {
        let mut options = json!(self.options);
        let defaults = json!(Options::default());
        if let Some(map) = options.as_object_mut() {
            map.retain(|key, value| defaults.get(key) != Some(value));
        }
        let mut inputs = json!({
            "image": self.image,
            "options": options,
            "resources": self.resources,
            "overlay": self.overlay,
        });
        if self.apart != AntiAffinity::default() {
            inputs["antiAffinity"] = json!(self.apart);
        }
        if Surface::ALL
            .iter()
            .any(|it| self.scheme(*it) == Scheme::Https)
        {
            let secrets = Surface::ALL.map(|it| certificates::mounted(self, it));
            inputs["tls"] = json!([secrets, certificates::serves_plaintext(&self.tls)]);
        }
        let elsewhere = |it: &PeerListener| it.port != names::PEER_PORT;
        if self.peer_listeners.iter().any(elsewhere) {
            let all = self
                .peer_listeners
                .iter()
                .map(|it| (it.port, it.tls().is_some()));
            inputs["peerListeners"] = json!(all.collect::<Vec<_>>());
        }
        if self.takes_learners {
            inputs["learners"] = json!(true);
        }
        if self.quota_grows() {
            inputs["quota"] = json!(self.quota_bytes);
        }
        hash(&inputs)
    }

    /// The template, to be remembered.
    pub(crate) fn template(&self) -> StableTemplate {
        StableTemplate {
            revision: self.template_hash.clone(),
            template: json!({
                "image": self.image,
                "options": self.options,
                "resources": self.resources,
                "podTemplate": self.overlay,
                "antiAffinity": self.apart,
            }),
        }
    }

    /// The same wishes with a template that was remembered; none if that cannot be read any more, or if what is no part of it and
    /// yet of the pods has changed since, such as whose certificates are shown, or whether there is room for learners: going back from
    /// that is a change of its own.
    pub(crate) fn with(&self, stable: &StableTemplate) -> Option<Self> {
        let part = |key: &str| stable.template.get(key).cloned();
        let options: Options = serde_json::from_value(part("options")?).ok()?;
        let mut restored = Self {
            image: serde_json::from_value(part("image")?).ok()?,
            quota_bytes: quota(&options, self.largest()),
            options,
            resources: serde_json::from_value(part("resources")?).ok()?,
            overlay: part("podTemplate").unwrap_or_default(),
            apart: serde_json::from_value(part("antiAffinity")?).ok()?,
            ..self.clone()
        };
        restored.template_hash = restored.hash();
        (restored.template_hash == stable.revision).then_some(restored)
    }
}

/// A short hash of a value, whatever order its keys are in.
pub(crate) fn hash(value: &Value) -> String {
    let digest = Sha256::digest(canonical(value).to_string().as_bytes());
    let bytes = digest.iter().take(5);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// The same value with keys in order, whatever order the map type keeps.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            Value::Object(
                sorted
                    .into_iter()
                    .map(|(k, v)| (k.clone(), canonical(v)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}
