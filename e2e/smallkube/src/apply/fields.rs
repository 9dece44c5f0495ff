//! Sets of fields, as `managedFields` writes them down.
//!
//! A set is a tree: a node says whether its own path belongs to the set, and has children by step. Written as Kubernetes'
//! `fieldsV1` (`f:` field, `k:` keyed item, `v:` set item, `.` the node itself). It deliberately knows no schema.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One step down from a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Field(String),
    /// An item of a keyed list, by the compact JSON of its keys in order of their names.
    Keyed(String),
    /// An item of a set, by its compact JSON.
    Item(String),
    /// An item by its place; nobody writes these, but they are read.
    At(usize),
}

/// A set of fields below one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// The node's own path is in the set.
    pub(crate) here: bool,
    pub(crate) children: BTreeMap<Step, Self>,
}

impl FieldSet {
    pub(crate) fn leaf() -> Self {
        Self {
            here: true,
            children: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.here && self.children.values().all(Self::is_empty)
    }

    /// Adds a child set, unless it is empty.
    pub(crate) fn add(&mut self, step: Step, child: Self) {
        if !child.is_empty() {
            let place = self.children.entry(step).or_default();
            *place = place.union(&child);
        }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.here |= other.here;
        for (step, child) in &other.children {
            let merged = all
                .children
                .get(step)
                .map_or_else(|| child.clone(), |c| c.union(child));
            all.children.insert(step.clone(), merged);
        }
        all
    }

    /// What stands in this set and not in the other, path by path.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let mut rest = Self {
            here: self.here && !other.here,
            ..Self::default()
        };
        for (step, child) in &self.children {
            match other.children.get(step) {
                Some(taken) => rest.add(step.clone(), child.minus(taken)),
                None => rest.add(step.clone(), child.clone()),
            }
        }
        rest
    }

    /// What stands in both.
    pub(crate) fn both(&self, other: &Self) -> Self {
        let mut both = Self {
            here: self.here && other.here,
            ..Self::default()
        };
        for (step, child) in &self.children {
            if let Some(others) = other.children.get(step) {
                both.add(step.clone(), child.both(others));
            }
        }
        both
    }

    /// The paths of the set as people read them: `.spec.containers[name="a"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(&mut String::new(), &mut found);
        found
    }

    fn collect(&self, path: &mut String, found: &mut Vec<String>) {
        if self.here {
            found.push(path.clone());
        }
        for (step, child) in &self.children {
            let length = path.len();
            path.push_str(&step.to_string());
            child.collect(path, found);
            path.truncate(length);
        }
    }

    /// As `fieldsV1`.
    pub(crate) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.here && !self.children.is_empty() {
            map.insert(".".to_owned(), json!({}));
        }
        for (step, child) in &self.children {
            map.insert(step.encode(), child.to_json());
        }
        Value::Object(map)
    }

    /// From `fieldsV1`; steps that nobody can mean are skipped.
    pub(crate) fn from_json(value: &Value) -> Self {
        let mut set = Self::default();
        for (name, child) in value.as_object().into_iter().flatten() {
            if name == "." {
                set.here = true;
            } else if let Some(step) = Step::decode(name) {
                let empty = child.as_object().is_none_or(Map::is_empty);
                let child = if empty {
                    Self::leaf()
                } else {
                    Self::from_json(child)
                };
                set.add(step, child);
            }
        }
        set
    }
}

impl Step {
    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Keyed(keys) => format!("k:{keys}"),
            Self::Item(value) => format!("v:{value}"),
            Self::At(index) => format!("i:{index}"),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let (form, rest) = text.split_once(':')?;
        match form {
            "f" => Some(Self::Field(rest.to_owned())),
            // Parsed and written again, so that the order and spacing of keys never matters.
            "k" => Some(Self::Keyed(
                serde_json::from_str::<Value>(rest).ok()?.to_string(),
            )),
            "v" => Some(Self::Item(
                serde_json::from_str::<Value>(rest).ok()?.to_string(),
            )),
            "i" => rest.parse().ok().map(Self::At),
            _ => None,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Keyed(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Item(value) => write!(f, "[={value}]"),
            Self::At(index) => write!(f, "[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> FieldSet {
        FieldSet::from_json(&json!({
            "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}}}},
            "f:metadata": {"f:finalizers": {"v:\"x\"": {}}},
        }))
    }

    #[test]
    fn fields_v1_goes_there_and_back() {
        assert_eq!(FieldSet::from_json(&set().to_json()), set());
        assert_eq!(
            set().paths(),
            [
                ".metadata.finalizers[=\"x\"]",
                ".spec.containers[name=\"a\"]",
                ".spec.containers[name=\"a\"].image",
                ".spec.containers[name=\"a\"].name",
            ]
        );
    }

    #[test]
    fn set_maths() {
        let image = FieldSet::from_json(
            &json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}}}}),
        );
        assert_eq!(set().both(&image), image);
        assert_eq!(set().minus(&image).paths().len(), 3);
        assert_eq!(set().minus(&image).union(&image), set());
        assert!(image.minus(&set()).is_empty());
    }
}
