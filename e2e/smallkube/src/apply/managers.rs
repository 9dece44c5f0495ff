//! The managers of an object: who owns which fields, as `metadata.managedFields` lists them.
//!
//! A manager is told by its name, how it writes (apply or update), the version it writes in and the subresource. It
//! deliberately keeps a manager's time only as text: nothing is decided by it.

use super::fields::FieldSet;
use crate::object::Object;
use serde_json::{Value, json};

/// One manager's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) who: Who,
    /// Empty for who has only ever applied what stood there already.
    pub(crate) time: String,
    pub(crate) fields: FieldSet,
}

/// What tells one manager from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) manager: String,
    pub(crate) applies: bool,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
}

/// Reads the entries of an object.
pub(crate) fn read(object: &Value) -> Vec<Entry> {
    object
        .items("/metadata/managedFields")
        .iter()
        .filter(|entry| entry.get("fieldsV1").is_some())
        .map(|entry| Entry {
            who: Who {
                manager: entry.text("/manager").to_owned(),
                applies: entry.text("/operation") == "Apply",
                api_version: entry.text("/apiVersion").to_owned(),
                subresource: entry.text("/subresource").to_owned(),
            },
            time: entry.text("/time").to_owned(),
            fields: FieldSet::from_json(&entry["fieldsV1"]),
        })
        .collect()
}

/// Writes the entries into an object: appliers first, each group in the order of its times, empty ones left out.
pub(crate) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by_key(|e| {
        let Who {
            manager,
            api_version,
            subresource,
            ..
        } = &e.who;
        let names = [manager, api_version, subresource].map(String::clone);
        (!e.who.applies, e.time.clone(), names)
    });
    let listed: Vec<Value> = entries.iter().map(Entry::to_json).collect();
    if listed.is_empty() {
        object.take_away(&["metadata", "managedFields"]);
    } else {
        object.put(&["metadata", "managedFields"], Value::Array(listed));
    }
}

impl Entry {
    fn to_json(&self) -> Value {
        let mut entry = json!({
            "manager": self.who.manager,
            "operation": if self.who.applies { "Apply" } else { "Update" },
            "apiVersion": self.who.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.to_json(),
        });
        if !self.time.is_empty() {
            entry["time"] = json!(self.time);
        }
        if !self.who.subresource.is_empty() {
            entry["subresource"] = json!(self.who.subresource);
        }
        entry
    }
}
